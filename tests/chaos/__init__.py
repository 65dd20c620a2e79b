"""Roost under fire: real processes, real load, everything killed in turn, and a ledger of what should have come.

    python -m tests.chaos [--seconds N] [--json]

A host of Bluesky's stream on loopback (`host`) makes a thousand posts a second, changes and deletes some, and notes
each (`records`). Services run as real processes that are started again when they die (`supervisor`, `system`). So do
the clients (`clients`), which note everything they get. Meanwhile parts are killed (`faults`). What somebody should
have had and did not, or had twice, is found afterwards from the notes alone (`verdict`).
"""
