-- Written for cores before 0.8. They list the five columns that pgmq.message_record had in pgmq
-- 1.4.4, and fail on any pgmq whose record has more. pgmq's own function of the same name does the
-- same thing (polls against the clock, filters by containment, takes by msg_id with SKIP LOCKED,
-- hides for vt seconds, counts the read) and always knows its own record.

CREATE OR REPLACE FUNCTION pgflow.read_with_poll(
    queue_name text,
    vt integer,
    qty integer,
    max_poll_seconds integer DEFAULT 5,
    poll_interval_ms integer DEFAULT 100,
    conditional jsonb DEFAULT '{}'
)
RETURNS SETOF pgmq.message_record
LANGUAGE plpgsql
SET search_path = ''
AS $pgflow_ref$
BEGIN
    RETURN QUERY
    SELECT * FROM pgmq.read_with_poll($1, $2, $3, $4, $5, $6);
END;
$pgflow_ref$;

COMMENT ON FUNCTION pgflow.read_with_poll(text, integer, integer, integer, integer, jsonb) IS
    'by pgflow-ref, in place of the original, which cannot return rows on this version of pgmq';
