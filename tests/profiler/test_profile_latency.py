@pytest.mark.parametrize(("energy_j", "joules"), [(None, None), (0.0, None), (12.34567, 12.346)])
def test_energy_is_in_the_profile_where_it_was_measured(energy_j: float | None, joules: float | None) -> None:
    assert latency.joules(energy_j) == joules
