-- Exports of the API: what each is of, how far it has come, and the proof of what it had.
CREATE TABLE exports (
    id          text PRIMARY KEY,
    dataset     text NOT NULL,
    noun        text NOT NULL,          -- readings, windows, ...
    format      text NOT NULL,
    query       jsonb NOT NULL,         -- the parameters, [[name, value], ...]
    chosen      jsonb NOT NULL,         -- what of the registry the rows depend on, as it was
    from_ms     bigint NOT NULL,        -- the range, epoch ms
    to_ms       bigint NOT NULL,
    positions   jsonb NOT NULL,         -- the rows are of what was stored then
    taken       timestamptz NOT NULL,
    updated     timestamptz NOT NULL,   -- a running one is broken when this is old
    state       text NOT NULL,          -- running, broken, proving, complete
    rows        bigint NOT NULL DEFAULT 0,
    bytes       bigint NOT NULL DEFAULT 0,
    sha256      text,                   -- of all bytes, once they have been made in one go
    steps       jsonb NOT NULL DEFAULT '[]'  -- [[UTC day, rows before it], ...]
);
CREATE INDEX exports_taken ON exports (taken);
