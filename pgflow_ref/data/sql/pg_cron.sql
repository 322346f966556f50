-- What cores from 0.10 on take from the extension pg_cron. This one keeps the jobs and runs none:
-- whoever wants one to run, runs its command.

CREATE SCHEMA IF NOT EXISTS cron;
COMMENT ON SCHEMA cron IS 'stand-in of pgflow-ref: keeps jobs in cron.job and runs none of them';

CREATE TABLE cron.job (
    jobid bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    schedule text NOT NULL,
    command text NOT NULL,
    nodename text NOT NULL DEFAULT 'localhost',
    nodeport integer NOT NULL DEFAULT 5432,
    database text NOT NULL DEFAULT current_database(),
    username text NOT NULL DEFAULT current_user,
    active boolean NOT NULL DEFAULT true,
    jobname text,
    UNIQUE (jobname, username)
);

-- Where pg_cron says what became of its jobs: nothing does.
CREATE TABLE cron.job_run_details (
    jobid bigint,
    runid bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    job_pid integer,
    database text,
    username text,
    command text,
    status text,
    return_message text,
    start_time timestamptz,
    end_time timestamptz
);

CREATE FUNCTION cron.schedule(job_name text, schedule text, command text) RETURNS bigint
LANGUAGE sql
SECURITY DEFINER
SET search_path = ''
AS $stand_in$
    INSERT INTO cron.job AS kept (jobname, schedule, command)
    VALUES (schedule.job_name, schedule.schedule, schedule.command)
    ON CONFLICT (jobname, username)
    DO UPDATE SET schedule = excluded.schedule, command = excluded.command
    RETURNING kept.jobid;
$stand_in$;

CREATE FUNCTION cron.schedule(schedule text, command text) RETURNS bigint
LANGUAGE sql
SET search_path = ''
AS $stand_in$
    SELECT cron.schedule(NULL, schedule.schedule, schedule.command);
$stand_in$;

CREATE FUNCTION cron.unschedule(job_id bigint) RETURNS boolean
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = ''
AS $stand_in$
BEGIN
    DELETE FROM cron.job WHERE jobid = job_id;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'could not find valid entry for job %', job_id;
    END IF;
    RETURN true;
END;
$stand_in$;

CREATE FUNCTION cron.unschedule(job_name text) RETURNS boolean
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = ''
AS $stand_in$
BEGIN
    DELETE FROM cron.job WHERE jobname = job_name;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'could not find valid entry for job %', job_name;
    END IF;
    RETURN true;
END;
$stand_in$;
