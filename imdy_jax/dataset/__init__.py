"""The dataset of imitated dynamics: what a sequence records, how it is stored, and the check that it obeys physics."""
