"""Fine-tuning with the Trainer."""
