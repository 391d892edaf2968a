/** Deeper JSON is refused: what reads it afterwards calls itself for every level. */
const depthMax = 256;

type Place =
  | "value"
  | "firstItem"
  | "firstKey"
  | "key"
  | "colon"
  | "next"
  | "string"
  | "escape"
  | "hex"
  | "number"
  | "word"
  | "whole"
  | "broken";

/** How far a number is: it may end after `zero`, `integer`, `fraction` and `exponent`. */
type NumberPart = "minus" | "zero" | "integer" | "point" | "fraction" | "e" | "sign" | "exponent";

const words: Readonly<Record<string, string>> = { t: "true", f: "false", n: "null" };

/**
 * Reads a JSON value (RFC 8259) that comes in pieces, and knows at the first character that no JSON value can go on with.
 * It is in a **value**, which may be inside others, until it is **whole** or **broken**. A number that is the whole value
 * is whole when something follows it, or at the end of the text.
 */
export class JsonScan {
  #place: Place = "value";
  /** The brackets that are to close. */
  readonly #open: string[] = [];
  #isKey = false;
  #hexDigits = 0;
  #number: NumberPart = "minus";
  #word = "";

  get whole(): boolean {
    return this.#place === "whole";
  }

  get broken(): boolean {
    return this.#place === "broken";
  }

  /** Reads a piece. Returns how much of it belongs to the value: all, unless it is whole or broken before the end. */
  feed(piece: string): number {
    let at = 0;
    while (at < piece.length && !this.whole && !this.broken) {
      if (this.#place === "string") at = this.#inString(piece, at);
      else if (this.#step(piece.charAt(at))) at += 1;
    }
    return at;
  }

  /** The text has ended. */
  end(): void {
    if (this.#place === "number" && this.#open.length === 0 && mayEnd(this.#number)) this.#place = "whole";
    else if (!this.whole) this.#place = "broken";
  }

  /** Up to and with the quote that ends it, or what has to be looked at alone. */
  #inString(piece: string, from: number): number {
    special.lastIndex = from;
    const found = special.exec(piece);
    if (!found) return piece.length;
    if (found[0] === '"') this.#closeString();
    else this.#place = found[0] === "\\" ? "escape" : "broken";
    return this.broken ? found.index : found.index + 1;
  }

  #closeString(): void {
    if (this.#isKey) this.#place = "colon";
    else this.#close();
  }

  /** A value is complete. */
  #close(): void {
    this.#place = this.#open.length === 0 ? "whole" : "next";
  }

  /** Whether the character was taken: one that ends a number belongs to what follows, or to nothing. */
  #step(character: string): boolean {
    switch (this.#place) {
      case "number":
        return this.#inNumber(character);
      case "word":
        return this.#inWord(character);
      case "escape":
        return this.#inEscape(character);
      case "hex":
        return this.#inHex(character);
      default:
        return isSpace(character) || this.#mark(character);
    }
  }

  #mark(character: string): boolean {
    switch (this.#place) {
      case "firstItem":
        return character === "]" ? this.#pop() : this.#begin(character);
      case "firstKey":
        return character === "}" ? this.#pop() : this.#beginKey(character);
      case "key":
        return this.#beginKey(character);
      case "colon":
        return character === ":" ? this.#goTo("value") : this.#break();
      case "next":
        if (character === ",") return this.#goTo(this.#open.at(-1) === "}" ? "key" : "value");
        return character === this.#open.at(-1) ? this.#pop() : this.#break();
      default:
        return this.#begin(character);
    }
  }

  #goTo(place: Place): true {
    this.#place = place;
    return true;
  }

  #break(): false {
    this.#place = "broken";
    return false;
  }

  #pop(): true {
    this.#open.pop();
    this.#close();
    return true;
  }

  #begin(character: string): boolean {
    if (character === "{" || character === "[") {
      if (this.#open.length === depthMax) return this.#break();
      this.#open.push(character === "{" ? "}" : "]");
      return this.#goTo(character === "{" ? "firstKey" : "firstItem");
    }
    if (character === '"') {
      this.#isKey = false;
      return this.#goTo("string");
    }
    if (character === "-" || isDigit(character)) {
      this.#number = character === "-" ? "minus" : character === "0" ? "zero" : "integer";
      return this.#goTo("number");
    }
    const word = words[character];
    if (word === undefined) return this.#break();
    this.#word = word.slice(1);
    return this.#goTo("word");
  }

  #beginKey(character: string): boolean {
    if (character !== '"') return this.#break();
    this.#isKey = true;
    return this.#goTo("string");
  }

  #inNumber(character: string): boolean {
    const part = numberAfter(this.#number, character);
    if (part) {
      this.#number = part;
      return true;
    }
    if (!mayEnd(this.#number)) return this.#break();
    this.#close();
    return false;
  }

  #inWord(character: string): boolean {
    if (character !== this.#word.charAt(0)) return this.#break();
    this.#word = this.#word.slice(1);
    if (this.#word === "") this.#close();
    return true;
  }

  #inEscape(character: string): boolean {
    if (character === "u") {
      this.#hexDigits = 0;
      return this.#goTo("hex");
    }
    return '"\\/bfnrt'.includes(character) ? this.#goTo("string") : this.#break();
  }

  #inHex(character: string): boolean {
    if (!/[0-9a-fA-F]/.test(character)) return this.#break();
    this.#hexDigits += 1;
    return this.#goTo(this.#hexDigits === 4 ? "string" : "hex");
  }
}

/** What ends a string, escapes in it, or may not be in it. */
const special = /["\\]|[^\u0020-\uffff]/g;

function isSpace(character: string): boolean {
  return character === " " || character === "\n" || character === "\t" || character === "\r";
}

function isDigit(character: string): boolean {
  return character >= "0" && character <= "9";
}

function mayEnd(part: NumberPart): boolean {
  return part === "zero" || part === "integer" || part === "fraction" || part === "exponent";
}

/** Where a number is after another character; undefined: it does not go on with it. */
function numberAfter(part: NumberPart, character: string): NumberPart | undefined {
  const digit = isDigit(character);
  switch (part) {
    case "minus":
      if (character === "0") return "zero";
      return digit ? "integer" : undefined;
    case "point":
    case "fraction":
      if (digit) return "fraction";
      return part === "fraction" && isE(character) ? "e" : undefined;
    case "e":
      if (character === "+" || character === "-") return "sign";
      return digit ? "exponent" : undefined;
    case "sign":
    case "exponent":
      return digit ? "exponent" : undefined;
    default:
      if (digit && part === "integer") return "integer";
      if (character === ".") return "point";
      return isE(character) ? "e" : undefined;
  }
}

function isE(character: string): boolean {
  return character === "e" || character === "E";
}
