"""The two ways a run is refused. Each prints as one line and ends the program with its own exit code."""


class BadInput(Exception):
    """The user gave something that cannot work; the message says what, where and what to do (exit code 2)."""

    exit_code = 2

    def __init__(self, message: str) -> None:
        # A data loader's worker hands an exception on with its whole traceback as the message: keep our line of it.
        super().__init__(message.strip().rsplit("davis_exp.errors.BadInput: ")[-1])


class OverBudget(BadInput):
    """The composed model has more parameters than the budget allows (exit code 3).

    The message is the one-line verdict ("over budget by 18,021,345: …"); `table` is the per-part breakdown,
    `parameters` how many there are, `flops` what a frame costs (None: not counted).
    """

    exit_code = 3

    def __init__(
        self, message: str, table: str = "", parameters: int | None = None, flops: int | None = None
    ) -> None:
        super().__init__(message)
        self.table = table
        self.parameters = parameters
        self.flops = flops


def quoted(name: object) -> str:
    """An untrusted name for a one-line message: printable, without control characters, not too long."""
    text = ascii(str(name))[1:-1]
    return text if len(text) <= 120 else f"{text[:100]}…{text[-16:]}"


def brief(error: BaseException) -> str:
    """An error of another library's as a short line."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 160 else f"{text[:157]}…"
