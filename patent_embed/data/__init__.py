"""What patents are: records, their cleaning, families and splits, the tables that steps hand on, a sample."""
