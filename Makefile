# Each target works on a fresh clone by itself.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# A CPU build of PyTorch where the index has one; a GPU machine may set TORCH=torch.
TORCH ?= torch==2.13.0
OUT ?= safevla-runs

# Numeric libraries must not start a thread per core in each of our processes.
export OMP_NUM_THREADS ?= 1

.PHONY: venv test-venv align imitate pretrain demo test test-rtamt test-instrument test-lerobot lint clean

venv: $(VENV)/installed
test-venv: $(VENV)/installed-test

$(VENV)/installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet "$(TORCH)"
	$(BIN)/pip install --quiet --editable .
	touch $@

$(VENV)/installed-test: $(VENV)/installed
	$(BIN)/pip install --quiet --editable ".[test]"
	touch $@

align: venv
	$(BIN)/safevla align --out $(OUT)/align --resume

demo: venv
	$(BIN)/safevla demo --out $(OUT)/demo --resume

pretrain: venv
	$(BIN)/safevla pretrain --perception.pictures 450000 --perception.workers 2 --out $(OUT)/pretrain --resume

# Rebuilds the policy `imitation` from nothing: the encoder first, then the behaviour.
imitate: pretrain
	$(BIN)/safevla imitate --config runs/imitate.toml --encoder $(OUT)/pretrain/encoder.pt \
		--out $(OUT)/imitate --resume

test: test-venv
	$(BIN)/python -m pytest

# Agreement of our formulas with RTAMT, in an environment of its own: it needs an old antlr.
test-rtamt: .venv-rtamt/installed
	.venv-rtamt/bin/python -m pytest tests/safety/test_rtamt.py

.venv-rtamt/installed: pyproject.toml
	$(PYTHON) -m venv .venv-rtamt
	.venv-rtamt/bin/pip install --quiet "$(TORCH)"
	.venv-rtamt/bin/pip install --quiet --editable ".[test,rtamt]"
	touch $@

# Policies and data sets of LeRobot, and backbones of transformers, in an environment of its own: it wants an older torch, with torchvision.
test-lerobot: .venv-lerobot/installed
	.venv-lerobot/bin/python -m pytest tests/policy/test_lerobot.py tests/policy/test_backbone.py \
		tests/assure/test_lerobot_dataset.py tests/test_exporting.py

.venv-lerobot/installed: pyproject.toml
	$(PYTHON) -m venv .venv-lerobot
	.venv-lerobot/bin/pip install --quiet --editable ".[test,lerobot,base]"
	touch $@

# Costs for environments of others. Meta-World needs an old MuJoCo, hence --no-deps; the homes do not run there.
test-instrument: .venv-instrument/installed
	.venv-instrument/bin/python -m pytest tests/safety/test_instrument.py

.venv-instrument/installed: pyproject.toml
	$(PYTHON) -m venv .venv-instrument
	.venv-instrument/bin/pip install --quiet gymnasium-robotics metaworld "mujoco==3.3.0" imageio numba scipy \
		lark tomli-w pytest pytest-timeout hypothesis
	.venv-instrument/bin/pip install --quiet --no-deps --editable .
	touch $@

lint: test-venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) .venv-rtamt .venv-instrument .venv-lerobot $(OUT)
