"""An experiment from its composed config: built, checkpointed, evaluated, and used on any sequence."""
