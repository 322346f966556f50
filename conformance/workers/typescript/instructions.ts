/** The instructions of CONTRACT.md over plain values. What reaches outside comes in as a World. */

export type Path = (string | number)[];
export type Instruction =
  | { return: unknown }
  | { echo: true }
  | { pick: Path | Record<string, Path> }
  | { sum: Path[] }
  | { sleep: number }
  | { fail: string; attempts?: number }
  | { hang: true }
  | { exit: number }
  | { garbage: true };

export interface World {
  sleep(seconds: number): Promise<void>;
  attempt(): Promise<number>;
  hang(): Promise<never>;
  exit(code: number): never;
}

const KNOWN = ["return", "echo", "pick", "sum", "sleep", "fail", "hang", "exit", "garbage"];

/** Whether this page knows the instruction, with all that it says. */
export function isKnown(instruction: object): instruction is Instruction {
  const said = Object.keys(instruction).filter((name) => name !== "attempts");
  return said.length === 1 && KNOWN.includes(said[0]);
}

/**
 * Performs a handler: its output is the last value that an instruction made, else null.
 *
 * `argument` is what the worker handed to the handler, `inputs` what paths lead into.
 */
export async function perform(
  handler: Instruction[],
  argument: unknown,
  inputs: unknown,
  world: World,
): Promise<unknown> {
  let output: unknown = null;
  for (const instruction of handler) {
    const made = await one(instruction, argument, inputs, world);
    if (made !== undefined) output = made;
  }
  return output;
}

/** Performs one instruction: the value it made, or undefined. */
async function one(
  does: Instruction,
  argument: unknown,
  inputs: unknown,
  world: World,
): Promise<unknown> {
  if ("return" in does) return does.return;
  if ("echo" in does) return argument;
  if ("pick" in does) return pick(does.pick, inputs);
  if ("sum" in does) return sum(does.sum, inputs);
  if ("garbage" in does) return { garbage: 1n };
  if ("sleep" in does) await world.sleep(does.sleep);
  else if ("hang" in does) await world.hang();
  else if ("exit" in does) world.exit(does.exit);
  else if (does.attempts === undefined || await world.attempt() <= does.attempts) {
    throw new Error(does.fail);
  }
}

function pick(what: Path | Record<string, Path>, input: unknown): unknown {
  if (!Array.isArray(what)) {
    return Object.fromEntries(
      Object.entries(what).map(([name, path]) => [name, pick(path, input)]),
    );
  }
  const values = select(what, input);
  return what.includes("*") ? values : values[0];
}

function sum(paths: Path[], input: unknown): number {
  let total = 0;
  for (const path of paths) {
    for (const value of select(path, input)) {
      if (typeof value !== "number") throw new Error(`no number at ${JSON.stringify(path)}`);
      total += value;
    }
  }
  return total;
}

/** All values at a path: one, or with "*" any number. */
function select(path: Path, input: unknown): unknown[] {
  let values = [input];
  for (const key of path) {
    values = values.flatMap((value) => {
      const found = inside(value, key);
      if (found === undefined) throw new Error(`nothing at ${JSON.stringify(path)}`);
      return found;
    });
  }
  return values;
}

/** What a key finds in a value: a list, so that "*" may find many. */
function inside(value: unknown, key: string | number): unknown[] | undefined {
  if (Array.isArray(value)) {
    if (key === "*") return value;
    return typeof key === "number" && Object.hasOwn(value, key) ? [value[key]] : undefined;
  }
  if (value === null || typeof value !== "object" || !Object.hasOwn(value, key)) return undefined;
  return [(value as Record<string, unknown>)[key]];
}
