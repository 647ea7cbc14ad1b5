"""Forces for any human motion, with proof that they obey physics."""
