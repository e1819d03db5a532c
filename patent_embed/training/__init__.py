"""Fine-tuning: triplets, the loop, its checkpoints, and the validation that decides which epoch is kept."""
