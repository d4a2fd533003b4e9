"""What a model learns from its own doubt: lessons, the gate they have to pass, a ledger of the kept."""
