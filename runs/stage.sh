# Sourced by the scripts beside it, which say in $out where a run is kept.
mkdir -p "$out"

# stage NAME COMMAND: runs it, and adds to minutes.txt what it took, interrupted or not.
record() {
  [ -z "${name:-}" ] || echo "$name $(( ($(date +%s) - began + 30) / 60 ))" | tee -a "$out/minutes.txt"
  name=
}
trap record EXIT
stage() {
  name=$1
  began=$(date +%s)
  shift
  "$@"
  record
}
