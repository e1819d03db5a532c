"""Programs that embed by a run's model, a module each."""
