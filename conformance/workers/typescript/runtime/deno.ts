/** What this adapter asks of Deno; node.ts has the same for Node. */

export const name = "deno";
export const words: readonly string[] = Deno.args;

export function env(name: string): string | undefined {
  return Deno.env.get(name);
}

export function readTextFile(path: string): Promise<string> {
  return Deno.readTextFile(path);
}

/** stdin as text, in pieces as they come. */
export function stdin(): AsyncIterable<string> {
  return Deno.stdin.readable.pipeThrough(new TextDecoderStream());
}

/** Writes some of the bytes to stdout, and returns how many the system has taken. */
export function writeSync(bytes: Uint8Array): number {
  return Deno.stdout.writeSync(bytes);
}

export function onSignal(signal: "SIGTERM" | "SIGINT", then: () => void): void {
  Deno.addSignalListener(signal, then);
}

export function exit(code: number): never {
  Deno.exit(code);
}
