"""Where runs are told of: metrics.csv, W&B. What other rooms call is here; wandb itself is imported late."""
