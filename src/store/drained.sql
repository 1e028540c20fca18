-- Version 2: servers that operators have drained.

-- An upstream server that gets no jobs until an operator takes it back. It may be missing in tiers.yaml at the moment.
CREATE TABLE drained_server (
    upstream TEXT    NOT NULL, -- its name in tiers.yaml
    server   TEXT    NOT NULL, -- its address there, such as 10.0.0.1:8081
    since    INTEGER NOT NULL,
    PRIMARY KEY (upstream, server)
) STRICT, WITHOUT ROWID;
