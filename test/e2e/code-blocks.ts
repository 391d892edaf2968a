/** A fenced block of a Markdown text. */
export interface CodeBlock {
  readonly language: string;
  readonly text: string;
  /** The heading that it stands under. */
  readonly section: string;
}

/** The fenced blocks of a Markdown text, in order. */
export function codeBlocks(markdown: string): CodeBlock[] {
  const blocks: CodeBlock[] = [];
  let section = "";
  let open: { language: string; lines: string[] } | undefined;
  for (const line of markdown.split("\n")) {
    const fence = /^```(\w*)$/.exec(line);
    if (open === undefined) {
      section = /^#+ (.+)$/.exec(line)?.[1] ?? section;
      if (fence) open = { language: fence[1] ?? "", lines: [] };
    } else if (fence) {
      blocks.push({ language: open.language, text: `${open.lines.join("\n")}\n`, section });
      open = undefined;
    } else open.lines.push(line);
  }
  return blocks;
}

/** The one block of a language below a heading. */
export function blockOf(blocks: readonly CodeBlock[], section: string, language: string, holding = ""): string {
  const found = blocks.filter(
    (block) => block.section === section && block.language === language && block.text.includes(holding),
  );
  const [only] = found;
  if (only === undefined || found.length > 1) throw new Error(`${found.length} blocks of ${language} in "${section}"`);
  return only.text;
}
