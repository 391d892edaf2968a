import type { Content } from "./content.ts";
import { Suspect } from "./suspect.ts";

/** An engine that dies takes some hundreds with it. One costs about 500 bytes, and its request until that was read. */
const suspectsMax = 4_096;

/** The suspects, by what is known of them: their digest, or before that was read the very request. */
export class Suspects {
  /** The one whose newest death is the longest ago first. */
  readonly #all = new Set<Suspect>();
  readonly #unread = new Map<Content, Suspect>();
  readonly #read = new Map<string, Suspect>();
  readonly #bySketch = new Map<string, Set<Suspect>>();

  /** As far as it can be told without reading the content. */
  find(content: Content): Suspect | undefined {
    return content.digest === undefined ? this.#unread.get(content) : this.#read.get(content.digest);
  }

  /** The suspect of a content that an engine has just gone away with: the newest of all. */
  touch(content: Content): Suspect {
    const suspect = this.find(content) ?? this.#add(content);
    this.#all.delete(suspect);
    this.#all.add(suspect);
    const [oldest] = this.#all.size > suspectsMax ? this.#all : [];
    if (oldest) this.forget(oldest);
    return suspect;
  }

  /** Whether it takes reading to tell a content from a suspect that died elsewhere. */
  resembles(content: Content): boolean {
    if (this.#all.size === 0) return false;
    const own = this.find(content);
    for (const suspect of this.#bySketch.get(content.sketch) ?? []) {
      const isRead = content.digest !== undefined && suspect.content.digest !== undefined;
      if (suspect === own || isRead) continue;
      for (const death of suspect.deaths.keys()) if (!own?.deaths.has(death)) return true;
    }
    return false;
  }

  /** The content was read: from here on it is one with those that are the same. */
  unite(content: Content): void {
    const suspect = this.#unread.get(content);
    if (!suspect || content.digest === undefined) return;
    this.#unread.delete(content);
    const same = this.#read.get(content.digest);
    if (!same) return void this.#read.set(content.digest, suspect);
    for (const [death, tells] of suspect.deaths) same.add(death, tells);
    this.forget(suspect);
    this.#all.delete(same);
    this.#all.add(same);
  }

  #add(content: Content): Suspect {
    const suspect = new Suspect(content);
    if (content.digest === undefined) this.#unread.set(content, suspect);
    else this.#read.set(content.digest, suspect);
    const alike = this.#bySketch.get(content.sketch) ?? new Set();
    this.#bySketch.set(content.sketch, alike.add(suspect));
    return suspect;
  }

  forget(suspect: Suspect): void {
    const { content } = suspect;
    if (!this.#all.delete(suspect)) return;
    if (this.#unread.get(content) === suspect) this.#unread.delete(content);
    if (content.digest !== undefined && this.#read.get(content.digest) === suspect) this.#read.delete(content.digest);
    const alike = this.#bySketch.get(content.sketch);
    alike?.delete(suspect);
    if (alike?.size === 0) this.#bySketch.delete(content.sketch);
  }

  /** Those whose newest death was before that moment. */
  forgetBefore(atMs: number): void {
    for (const suspect of this.#all) {
      if (suspect.newestMs > atMs) return;
      this.forget(suspect);
    }
  }
}
