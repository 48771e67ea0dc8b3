"""Bad input and faults: each with its exact error, and the wanted state or nothing after it."""
