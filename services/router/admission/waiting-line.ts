/** A place in a {@link WaitingLine}. */
export interface Waiting<T> {
  readonly value: T;
  previous: Waiting<T> | undefined;
  next: Waiting<T> | undefined;
  /** The line that it stands in; undefined: it has left. */
  line: WaitingLine<T> | undefined;
}

/** First come, first served; anybody may leave from anywhere, at once. */
export class WaitingLine<T> {
  #head: Waiting<T> | undefined;
  #tail: Waiting<T> | undefined;
  #length = 0;

  get length(): number {
    return this.#length;
  }

  get head(): Waiting<T> | undefined {
    return this.#head;
  }

  /** To the end of the line. */
  append(value: T): Waiting<T> {
    const place: Waiting<T> = { value, previous: this.#tail, next: undefined, line: this };
    if (this.#tail) this.#tail.next = place;
    else this.#head = place;
    this.#tail = place;
    this.#length += 1;
    return place;
  }

  /** To the front, before all others. */
  prepend(value: T): Waiting<T> {
    const place: Waiting<T> = { value, previous: undefined, next: this.#head, line: this };
    if (this.#head) this.#head.previous = place;
    else this.#tail = place;
    this.#head = place;
    this.#length += 1;
    return place;
  }

  /** Out of the line; nothing happens to who has left before. */
  remove(place: Waiting<T>): void {
    if (place.line !== this) return;
    if (place.previous) place.previous.next = place.next;
    else this.#head = place.next;
    if (place.next) place.next.previous = place.previous;
    else this.#tail = place.previous;
    place.line = undefined;
    place.previous = undefined;
    place.next = undefined;
    this.#length -= 1;
  }
}
