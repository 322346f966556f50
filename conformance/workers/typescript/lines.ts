/** stdin and stdout: one JSON value a line. stderr is for people. */

import * as runtime from "#runtime";

const encoder = new TextEncoder();

/** Writes a line to stdout and returns when the system has it. */
export function say(value: unknown): void {
  let bytes = encoder.encode(JSON.stringify(value) + "\n");
  while (bytes.length > 0) bytes = bytes.subarray(runtime.writeSync(bytes));
}

/** The values on stdin, each as soon as its line is there. */
export async function* hear(): AsyncGenerator<unknown> {
  let rest = "";
  for await (const chunk of runtime.stdin()) {
    const lines = (rest + chunk).split("\n");
    rest = lines.pop()!;
    for (const line of lines) if (line.trim()) yield JSON.parse(line);
  }
  if (rest.trim()) yield JSON.parse(rest);
}

export function log(text: string, error: unknown): void {
  console.error(`${text}: ${describe(error)}`);
}

/** One line for an error, also for those of postgres.js that have a code and no message. */
export function describe(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const code = (error as Error & { code?: string }).code;
  return (error.message || code || error.name).replaceAll("\n", " ");
}

/** What this adapter cannot do: the case is then "not supported". */
export class Unsupported extends Error {}
