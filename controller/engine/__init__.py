"""The only code that knows Docker. Answers are complete or an :class:`~controller.errors.EngineError`."""
