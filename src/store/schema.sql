-- All persistent data of tiergate: the tables of data_dir/tiergate.db.
--
-- docs/database.md explains them, with sample queries. This file is version 1 (PRAGMA user_version); a later version adds a
-- migration file of its own. The SQL is plain: PostgreSQL can hold the same tables with
-- INTEGER as bigint, BLOB as bytea, and without STRICT and WITHOUT ROWID.
--
-- Times are milliseconds since 1970-01-01T00:00:00Z, durations milliseconds; the views at the end format them.
--
-- A caller is identified by three columns everywhere. Those that don't apply are 0:
--   account   account.id: an account, or the account that asks for end_user
--   network   a keyed hash of the network of a caller without an account (the key is data_dir/network.key)
--   end_user  a keyed hash of the name that a delegating account gave its user

-- Metadata: `id` is the same as in data_dir/id; `retention_clock` is the time up to which old rows may have been removed.
CREATE TABLE meta (
    key   TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Finished jobs: one row per admitted metered request. Each instance of tiergate (there is one: 1) numbers its rows without
-- gaps, in the order in which they became durable. The success of a withdrawn job was discarded: it was answered with a refusal.
CREATE TABLE job (
    instance   INTEGER NOT NULL,
    number     INTEGER NOT NULL,
    admitted   INTEGER NOT NULL, -- it counts at this time
    ended      INTEGER NOT NULL,
    account    INTEGER NOT NULL,
    network    INTEGER NOT NULL,
    end_user   INTEGER NOT NULL,
    tier       TEXT    NOT NULL,
    upstream   TEXT    NOT NULL,
    priority   INTEGER NOT NULL, -- 0 to 6
    outcome    TEXT    NOT NULL, -- succeeded, failed, cancelled, displaced, waited_out, hung_up, shut_down,
                                 -- cancelled_by_operator, upload_ended, withdrawn
    status     INTEGER NOT NULL, -- of the upstream's answer; 0 without one
    cost       INTEGER NOT NULL, -- units of quota that a success takes
    units      INTEGER NOT NULL, -- units that it took
    wait_ms    INTEGER NOT NULL, -- from admission to its slot, or to its end without one
    service_ms INTEGER NOT NULL, -- from its slot to the end of the upstream's answer
    PRIMARY KEY (instance, number)
) STRICT, WITHOUT ROWID;

-- Refusals on metered routes, counted by minute. Callers that have used no quota are counted together, with 0 in all three
-- columns.
CREATE TABLE refusal (
    instance INTEGER NOT NULL,
    number   INTEGER NOT NULL,
    minute   INTEGER NOT NULL, -- when the minute began
    account  INTEGER NOT NULL,
    network  INTEGER NOT NULL,
    end_user INTEGER NOT NULL,
    tier     TEXT    NOT NULL, -- empty: refused before it was known
    reason   TEXT    NOT NULL, -- as clients are told it, such as queue_full
    status   INTEGER NOT NULL,
    count    INTEGER NOT NULL, -- at least 1
    PRIMARY KEY (instance, number)
) STRICT, WITHOUT ROWID;

CREATE INDEX refusal_minute ON refusal (minute);

-- Usage by caller, rolled up from job and refusal by the end of jobs. period is 60, 3600 or 86400 seconds; start is the start
-- of the minute, hour or day (UTC).
CREATE TABLE usage (
    period     INTEGER NOT NULL,
    start      INTEGER NOT NULL,
    account    INTEGER NOT NULL,
    network    INTEGER NOT NULL,
    end_user   INTEGER NOT NULL,
    tier       TEXT    NOT NULL,
    upstream   TEXT    NOT NULL, -- empty for refusals
    outcome    TEXT    NOT NULL, -- as in job, or refused
    status     INTEGER NOT NULL,
    jobs       INTEGER NOT NULL, -- or refusals
    units      INTEGER NOT NULL,
    wait_ms    INTEGER NOT NULL, -- of all together
    service_ms INTEGER NOT NULL, -- of all together
    PRIMARY KEY (period, start, account, network, end_user, tier, upstream, outcome, status)
) STRICT, WITHOUT ROWID;

-- The same for all callers together, with the reason of refusals.
CREATE TABLE traffic (
    period     INTEGER NOT NULL,
    start      INTEGER NOT NULL,
    tier       TEXT    NOT NULL,
    upstream   TEXT    NOT NULL,
    outcome    TEXT    NOT NULL,
    reason     TEXT    NOT NULL, -- empty for jobs
    status     INTEGER NOT NULL,
    jobs       INTEGER NOT NULL,
    units      INTEGER NOT NULL,
    wait_ms    INTEGER NOT NULL,
    service_ms INTEGER NOT NULL,
    PRIMARY KEY (period, start, tier, upstream, outcome, reason, status)
) STRICT, WITHOUT ROWID;

-- Service times of the upstreams for jobs that succeeded: a histogram. Times in one bucket differ by less than 1/16.
CREATE TABLE service_time (
    period INTEGER NOT NULL,
    start  INTEGER NOT NULL,
    bucket INTEGER NOT NULL,
    jobs   INTEGER NOT NULL,
    min_ms INTEGER NOT NULL,
    max_ms INTEGER NOT NULL,
    PRIMARY KEY (period, start, bucket)
) STRICT, WITHOUT ROWID;

-- Units debited in the current period of each calendar that a quota uses, such as `month UTC`; past periods are removed after
-- two days. A delegating account's sums include its users'.
CREATE TABLE calendar_sum (
    calendar TEXT    NOT NULL,
    period   INTEGER NOT NULL, -- when it began
    account  INTEGER NOT NULL,
    network  INTEGER NOT NULL,
    end_user INTEGER NOT NULL,
    units    INTEGER NOT NULL,
    PRIMARY KEY (calendar, period, account, network, end_user)
) STRICT, WITHOUT ROWID;

-- The numbers up to which jobs and refusals are rolled up: by `usage` into usage, traffic and service_time, by a calendar's
-- name into its sums.
CREATE TABLE rolled_up (
    book     TEXT    NOT NULL,
    instance INTEGER NOT NULL,
    job      INTEGER NOT NULL,
    refusal  INTEGER NOT NULL,
    PRIMARY KEY (book, instance)
) STRICT, WITHOUT ROWID;

-- The range of numbers of the rolled-up jobs that were admitted in an hour.
CREATE TABLE job_hour (
    instance     INTEGER NOT NULL,
    hour         INTEGER NOT NULL, -- when it began
    first_number INTEGER NOT NULL,
    last_number  INTEGER NOT NULL,
    PRIMARY KEY (instance, hour)
) STRICT, WITHOUT ROWID;

-- Corrections after the system's clock was ahead: jobs up to last_number that are dated after as_of count as of as_of.
CREATE TABLE clock_correction (
    id          INTEGER NOT NULL PRIMARY KEY,
    made        INTEGER NOT NULL,
    instance    INTEGER NOT NULL,
    last_number INTEGER NOT NULL,
    as_of       INTEGER NOT NULL,
    cause       TEXT    NOT NULL, -- step_back, or start
    undone      INTEGER           -- when it was taken back, if it was
) STRICT;

-- Accounts, including removed ones, of which only what history needs is kept.
CREATE TABLE account (
    id          INTEGER NOT NULL PRIMARY KEY,
    name        TEXT    NOT NULL,
    origin      TEXT    NOT NULL, -- stored; listed in tiers.yaml; or unlisted: listed so long ago that its name is free
    source      TEXT,             -- from which source of imports it came
    tier        TEXT    NOT NULL,
    email       TEXT,
    note        TEXT,
    concurrency INTEGER,          -- its own, instead of its tier's
    max_users   INTEGER,          -- of a delegating account
    until       INTEGER,          -- it has its tier until then
    blocked     INTEGER NOT NULL, -- 0 or 1
    created     INTEGER NOT NULL,
    removed_at  INTEGER
) STRICT;

CREATE UNIQUE INDEX account_name ON account (name, origin) WHERE removed_at IS NULL;
CREATE INDEX account_name_ever ON account (name);

-- An account's own limits, which override its tier's.
CREATE TABLE account_quota (
    account INTEGER NOT NULL,
    quota   TEXT    NOT NULL,
    units   INTEGER NOT NULL,
    PRIMARY KEY (account, quota)
) STRICT, WITHOUT ROWID;

CREATE TABLE account_limit (
    account       INTEGER NOT NULL,
    request_limit TEXT    NOT NULL,
    requests      INTEGER NOT NULL,
    lifts_network INTEGER NOT NULL, -- 0 or 1
    PRIMARY KEY (account, request_limit)
) STRICT, WITHOUT ROWID;

-- API keys, of which only SHA-256 is stored.
CREATE TABLE api_key (
    hash    BLOB    NOT NULL PRIMARY KEY,
    account INTEGER NOT NULL,
    label   TEXT    NOT NULL,
    created INTEGER NOT NULL,
    expires INTEGER
) STRICT, WITHOUT ROWID;

-- Network entries that operators made, by address: blocks, notes, and request limits.
CREATE TABLE network (
    network       TEXT NOT NULL PRIMARY KEY, -- such as 192.0.2.0/24
    note          TEXT,
    blocked_since INTEGER,
    blocked_until INTEGER, -- empty: until it is unblocked
    block_reason  TEXT
) STRICT, WITHOUT ROWID;

CREATE TABLE network_limit (
    network       TEXT    NOT NULL,
    request_limit TEXT    NOT NULL,
    requests      INTEGER NOT NULL,
    PRIMARY KEY (network, request_limit)
) STRICT, WITHOUT ROWID;

-- What operators changed.
CREATE TABLE audit (
    id      INTEGER NOT NULL PRIMARY KEY,
    at      INTEGER NOT NULL,
    who     TEXT    NOT NULL, -- where it came from, such as `127.0.0.1` by the admin API, or `tiers.yaml`
    action  TEXT    NOT NULL, -- such as account_add
    subject TEXT    NOT NULL, -- what was changed: an account's name, a network, a key's id
    detail  TEXT    NOT NULL  -- JSON; never a key
) STRICT;

-- Formatted views.

CREATE VIEW job_readable AS
SELECT job.number,
       strftime('%Y-%m-%d %H:%M:%S', job.admitted / 1000, 'unixepoch') AS admitted,
       strftime('%Y-%m-%d %H:%M:%S', job.ended / 1000, 'unixepoch') AS ended,
       account.name AS account,
       CASE WHEN job.network <> 0 THEN printf('%016x', job.network) END AS network,
       CASE WHEN job.end_user <> 0 THEN printf('%016x', job.end_user) END AS end_user,
       job.tier, job.upstream, job.priority, job.outcome, job.status, job.cost, job.units, job.wait_ms, job.service_ms
FROM job LEFT JOIN account ON account.id = job.account;

CREATE VIEW usage_by_day AS
SELECT strftime('%Y-%m-%d', usage.start / 1000, 'unixepoch') AS day,
       account.name AS account,
       CASE WHEN usage.network <> 0 THEN printf('%016x', usage.network) END AS network,
       CASE WHEN usage.end_user <> 0 THEN printf('%016x', usage.end_user) END AS end_user,
       usage.tier, usage.upstream, usage.outcome, usage.status, usage.jobs, usage.units, usage.wait_ms, usage.service_ms
FROM usage LEFT JOIN account ON account.id = usage.account
WHERE usage.period = 86400;
