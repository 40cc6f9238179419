"""`python -m ingest_gateway`."""

from ingest_gateway.main import main

if __name__ == "__main__":
    raise SystemExit(main())
