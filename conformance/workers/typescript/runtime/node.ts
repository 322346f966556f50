/** What this adapter asks of Node; deno.ts has the same for Deno. */

import { writeSync as write } from "node:fs";
import { readFile } from "node:fs/promises";
import process from "node:process";

export const name = "node";
export const words: readonly string[] = process.argv.slice(2);

export function env(name: string): string | undefined {
  return process.env[name];
}

export function readTextFile(path: string): Promise<string> {
  return readFile(path, "utf8");
}

/** stdin as text, in pieces as they come. */
export function stdin(): AsyncIterable<string> {
  process.stdin.setEncoding("utf8");
  return process.stdin as AsyncIterable<string>;
}

/** Writes some of the bytes to stdout, and returns how many the system has taken. */
export function writeSync(bytes: Uint8Array): number {
  try {
    return write(1, bytes);
  } catch (error) {
    // A pipe that is full, where somebody has made it non-blocking.
    if ((error as { code?: string }).code === "EAGAIN") return 0;
    throw error;
  }
}

export function onSignal(signal: "SIGTERM" | "SIGINT", then: () => void): void {
  process.on(signal, then);
}

export function exit(code: number): never {
  process.exit(code);
}
