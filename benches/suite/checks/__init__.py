"""scripts/test: everything that is checked before a change is accepted."""
