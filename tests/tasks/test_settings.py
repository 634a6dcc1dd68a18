"""Pictures have the size that a policy was made for, unless somebody says otherwise."""

from types import SimpleNamespace

import pytest

from safevla.tasks.settings import WorldSettings


@pytest.mark.parametrize(
    ("given", "made_for", "picture"),
    [
        ({}, None, (112, 112)),
        ({}, 224, (224, 224)),
        ({}, (224, 384), (224, 384)),
        ({"resolution": 64}, 224, (64, 64)),
        ({"width": 96}, 64, (64, 96)),
        ({"width": 96}, None, (112, 96)),
    ],
)
def test_pictures_are_of_the_size_that_a_policy_was_made_for(given, made_for, picture):
    policy = SimpleNamespace(resolution=made_for) if made_for else SimpleNamespace()
    assert WorldSettings(**given).seen_by(policy).picture == picture


def test_nothing_else_changes():
    world = WorldSettings(num_envs=3, person=True)
    seen = world.seen_by(SimpleNamespace(resolution=224))
    assert seen == WorldSettings(num_envs=3, person=True, resolution=224)
