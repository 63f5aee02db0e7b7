"""What was measured, asked for and observed, to one decision. Pure: no I/O, no asyncio, no clock."""
