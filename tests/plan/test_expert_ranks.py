"""A plan tries expert parallelism beyond a machine, up to the 64 ranks of DeepSeek-V3's own run."""

from oomless.frameworks import framework
from oomless.frameworks.plan_space import PlannedCards
from oomless.model.load import load
from oomless.run.training import TrainingAsked


def test_expert_ranks_go_beyond_a_machine() -> None:
    tried = framework("megatron-lm").plan.ways(
        TrainingAsked(framework="megatron-lm", sharding="distopt"),
        load("deepseek-v3"),
        PlannedCards(num=2048, within=8, spare_host=False),
    )
    meshes = [asked.mesh for asked in tried]
    assert {mesh.ep for mesh in meshes} == {1, 8, 16, 32, 64}
    assert any((mesh.pp, mesh.ep) == (16, 64) for mesh in meshes)
    assert all(2048 // mesh.pp % mesh.ep == 0 for mesh in meshes)
