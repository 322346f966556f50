-- Supabase has realtime.send, a plain PostgreSQL has not, and every core from 0.5.0 on calls it.
-- This one delivers nothing: it writes down what would have been sent, in the order of sending.

CREATE SCHEMA IF NOT EXISTS realtime;

CREATE TABLE realtime.messages_sent (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    topic text,
    event text,
    payload jsonb,
    private boolean
);

COMMENT ON TABLE realtime.messages_sent IS
    'stand-in of pgflow-ref: every call of realtime.send, oldest first by id';

-- SECURITY DEFINER: whoever may run a flow must not need rights on a log.
CREATE FUNCTION realtime.send(payload jsonb, event text, topic text, private boolean DEFAULT true)
RETURNS void
LANGUAGE sql
SECURITY DEFINER
SET search_path = ''
AS $stand_in$
    INSERT INTO realtime.messages_sent (topic, event, payload, private)
    VALUES (send.topic, send.event, send.payload, send.private);
$stand_in$;

COMMENT ON FUNCTION realtime.send(jsonb, text, text, boolean) IS
    'stand-in of pgflow-ref: records the event in realtime.messages_sent and sends nothing';
