"""What commands show of the ledger: as lines for people and as data for JSON."""
