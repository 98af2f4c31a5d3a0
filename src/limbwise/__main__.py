"""`python -m limbwise` is the command `limbwise`."""

import sys


def main() -> None:
    """The console command; where not even its libraries can be loaded, one line says why."""
    try:
        from .cli.app import main as command
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except (ImportError, MemoryError, OSError) as error:
        reason = " ".join(str(error).split()) or "there is too little memory"
        print(f"limbwise: it cannot start here: {reason}", file=sys.stderr)
        raise SystemExit(1) from None
    command()


if __name__ == "__main__":
    main()
