import { globSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { PROJECT } from "../deploy/local/paths.ts";

/** Every document, as a path in the project. */
export const PAGES: readonly string[] = globSync(
  ["*.md", "{.github,deploy,proto,services,shared,test}/**/*.md"],
  { cwd: PROJECT },
).sort();

export function readPage(page: string): string {
  return readFileSync(join(PROJECT, page), "utf8");
}

export interface CodeBlock {
  readonly language: string;
  readonly text: string;
}

/** Returns the fenced code blocks of a page, in order. */
export function codeBlocks(page: string): CodeBlock[] {
  const blocks = readPage(page).matchAll(/^```(\w*)\n(.*?)^```$/gms);
  return [...blocks].map(([, language = "", text = ""]) => ({ language, text }));
}

/** Returns the texts of a page's code blocks in one language. */
export function blocksIn(page: string, language: string): string[] {
  return codeBlocks(page)
    .filter((block) => block.language === language)
    .map(({ text }) => text);
}
