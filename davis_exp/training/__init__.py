"""Training: the LightningModule, its schedules, where it stands, and the callbacks that go with it."""
