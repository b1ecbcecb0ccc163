"""One execution: its inputs, call, price, settlement, status and follow-ups."""
