import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

/** A text file of the repository. */
export type SourceFile = {
  /** From the repository's root, with slashes: "services/edge/role.ts". */
  readonly path: string;
  readonly text: string;
};

const folders = [".ci", "clients", "docs", "examples", "gen", "proto", "scripts", "services", "test"];
const texts = /\.(ts|go|proto|sh|py|sql|lua|md|json|yaml)$|\/run$/;
const unread = new Set(["node_modules", "__pycache__", ".cache"]);

/** Every text file below the folders that hold our work, and the folders that hold no file at all. */
export function readTree(root: string): { files: SourceFile[]; emptyFolders: string[] } {
  const files: SourceFile[] = [];
  const emptyFolders: string[] = [];
  const visit = (folder: string): void => {
    const entries = readdirSync(join(root, folder), { withFileTypes: true });
    if (entries.length === 0) emptyFolders.push(folder);
    for (const entry of entries) {
      const path = `${folder}/${entry.name}`;
      if (entry.isDirectory() && !unread.has(entry.name)) visit(path);
      else if (entry.isFile() && texts.test(path)) files.push({ path, text: readFileSync(join(root, path), "utf8") });
    }
  };
  const present = new Set(readdirSync(root));
  for (const folder of folders) if (present.has(folder)) visit(folder);
  return { files, emptyFolders };
}

/** One line of a file that holds code: comments are blank, so that they may speak of what code may not do. */
export function codeLines(text: string): string[] {
  const blank = (comment: string): string => comment.replaceAll(/[^\n]/g, " ");
  return text
    .replaceAll(/^\s*\/\*[\s\S]*?\*\//gm, blank)
    .replaceAll(/(^|\s)\/\/.*$/gm, blank)
    .split("\n");
}

/** What a TypeScript file imports, loads or re-exports: a path from the root for a relative one, else the package's name. */
export function importsOf(file: SourceFile): { target: string; line: number }[] {
  const found: { target: string; line: number }[] = [];
  const code = codeLines(file.text).join("\n");
  for (const match of code.matchAll(/(?:\bfrom\s*|\bimport\s*\(\s*|\bimport\s+)["']([^"'\n]+)["']/g)) {
    const specifier = match[1] ?? "";
    const target = specifier.startsWith(".") ? resolveFrom(file.path, specifier) : packageName(specifier);
    found.push({ target, line: code.slice(0, match.index).split("\n").length });
  }
  return found;
}

function resolveFrom(path: string, specifier: string): string {
  const parts = path.split("/").slice(0, -1);
  for (const part of specifier.split("/")) {
    if (part === "..") parts.pop();
    else if (part !== ".") parts.push(part);
  }
  return parts.join("/");
}

function packageName(specifier: string): string {
  return specifier
    .split("/")
    .slice(0, specifier.startsWith("@") ? 2 : 1)
    .join("/");
}
