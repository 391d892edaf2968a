/** White space that a model writes around its markers; a longer run is part of the text. */
const spaceMax = 64;

/**
 * Tells a text without the white space that only stands around markers: what is at its end is held until more comes.
 * `begin` skips what comes next of it, `drop` forgets what is held, `flush` tells it.
 */
export class HeldSpace {
  readonly #tell: (text: string) => void;
  #held = "";
  #skipping = false;
  /** The run that goes on was too long to be held. */
  #told = false;

  constructor(tell: (text: string) => void) {
    this.#tell = tell;
  }

  push(text: string): void {
    let rest = text;
    if (this.#skipping) {
      rest = rest.trimStart();
      if (rest === "") return;
      this.#skipping = false;
    }
    const body = rest.trimEnd();
    const space = rest.slice(body.length);
    if (body !== "") {
      this.#tell(this.#held + body);
      this.#held = "";
      this.#told = false;
    }
    if (this.#told) return space === "" ? undefined : this.#tell(space);
    this.#held += space;
    if (this.#held.length <= spaceMax) return;
    this.#told = true;
    this.flush();
  }

  /** White space that comes next stands after a marker. */
  begin(): void {
    this.#held = "";
    this.#skipping = true;
    this.#told = false;
  }

  /** There was no marker: what is held is text. */
  flush(): void {
    if (this.#held !== "") this.#tell(this.#held);
    this.#held = "";
  }
}
