-- Written for cores before 0.8, for the same reason as read_with_poll. Which columns a row has is
-- asked of the catalog, so it fits every pgmq. The original sets no search_path; nor does this one.

CREATE OR REPLACE FUNCTION pgflow.set_vt_batch(
    queue_name text,
    msg_ids bigint[],
    vt_offsets integer[]
)
RETURNS SETOF pgmq.message_record
LANGUAGE plpgsql
AS $pgflow_ref$
DECLARE
    queue_table CONSTANT text := pgmq.format_table_name(queue_name, 'q');
    record_columns text;
BEGIN
    IF msg_ids IS NULL OR vt_offsets IS NULL THEN
        RETURN;
    END IF;

    -- An empty array has no length at all (NULL), so two empty ones agree and one does not.
    IF array_length(msg_ids, 1) IS DISTINCT FROM array_length(vt_offsets, 1) THEN
        RAISE EXCEPTION 'msg_ids length (%) must equal vt_offsets length (%)',
            array_length(msg_ids, 1), array_length(vt_offsets, 1);
    END IF;

    SELECT string_agg(format('message.%I', attname), ', ' ORDER BY attnum)
    INTO STRICT record_columns
    FROM pg_catalog.pg_attribute
    WHERE attrelid = 'pgmq.message_record'::regclass AND attnum > 0 AND NOT attisdropped;

    RETURN QUERY EXECUTE format(
        'UPDATE pgmq.%I AS message
         SET vt = clock_timestamp() + make_interval(secs => given.seconds)
         FROM unnest($1, $2) AS given (msg_id, seconds)
         WHERE message.msg_id = given.msg_id
         RETURNING %s',
        queue_table, record_columns
    ) USING msg_ids, vt_offsets;
END;
$pgflow_ref$;

COMMENT ON FUNCTION pgflow.set_vt_batch(text, bigint[], integer[]) IS
    'by pgflow-ref, in place of the original, which cannot return rows on this version of pgmq';
