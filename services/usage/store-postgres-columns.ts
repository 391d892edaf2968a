/** A column of many rows as one parameter: an array in PostgreSQL's binary form, which costs a third of its text. */
export interface Column<T> {
  readonly name: string;
  /** The type of an element. */
  readonly type: string;
  /** The array. Nothing of it is shared with the rows. */
  readonly encode: (rows: readonly T[]) => Buffer;
}

// Types by their number in pg_type, which never changes.
const oids = { int2: 21, int4: 23, int8: 20, text: 25, timestamptz: 1184, uuid: 2950 } as const;

type ElementType = keyof typeof oids;

const headerBytes = 20;

/** Writes the header of a one-dimensional array: dimensions, whether it may hold nulls, type, length, first index. */
function startArray(type: ElementType, count: number, bytes: number): Buffer {
  const buffer = Buffer.allocUnsafe(headerBytes + 4 * count + bytes);
  buffer.writeInt32BE(count > 0 ? 1 : 0, 0);
  buffer.writeInt32BE(1, 4);
  buffer.writeInt32BE(oids[type], 8);
  buffer.writeInt32BE(count, 12);
  buffer.writeInt32BE(1, 16);
  // An array without elements has no dimension, and ends before the first one's bounds.
  return count > 0 ? buffer : buffer.subarray(0, 12);
}

/** Elements of one size; `write` puts one at a place. */
function fixed<T>(
  name: string,
  type: ElementType,
  size: number,
  write: (buffer: Buffer, at: number, row: T) => void,
): Column<T> {
  return {
    name,
    type,
    encode(rows) {
      const buffer = startArray(type, rows.length, size * rows.length);
      let at = headerBytes;
      for (const row of rows) {
        buffer.writeInt32BE(size, at);
        write(buffer, at + 4, row);
        at += 4 + size;
      }
      return buffer;
    },
  };
}

/** Whole numbers that fit 16 bits. */
export function int2<T>(name: string, of: (row: T) => number): Column<T> {
  return fixed(name, "int2", 2, (buffer, at, row) => void buffer.writeInt16BE(of(row), at));
}

/** Whole numbers that fit 32 bits. */
export function int4<T>(name: string, of: (row: T) => number): Column<T> {
  return fixed(name, "int4", 4, (buffer, at, row) => void buffer.writeInt32BE(of(row), at));
}

/** Whole numbers that are exact. */
export function int8<T>(name: string, of: (row: T) => number): Column<T> {
  return fixed(name, "int8", 8, (buffer, at, row) => writeInt64(buffer, at, of(row)));
}

/** Milliseconds since the epoch. */
export function time<T>(name: string, of: (row: T) => number): Column<T> {
  return fixed(name, "timestamptz", 8, (buffer, at, row) => writeInt64(buffer, at, (of(row) - epochMs) * 1000));
}

/** UUIDs as text. */
export function uuid<T>(name: string, of: (row: T) => string): Column<T> {
  return fixed(name, "uuid", 16, (buffer, at, row) => writeUuid(buffer, at, of(row)));
}

/** UUIDs as their 16 bytes. */
export function uuidBytes<T>(name: string, of: (row: T) => Buffer): Column<T> {
  return fixed(name, "uuid", 16, (buffer, at, row) => void of(row).copy(buffer, at, 0, 16));
}

/** Whole numbers that fit 32 bits, or nothing. */
export function int4OrNull<T>(name: string, of: (row: T) => number | undefined): Column<T> {
  return {
    name,
    type: "int4",
    encode(rows) {
      const buffer = startArray("int4", rows.length, 4 * rows.length);
      let at = headerBytes;
      for (const row of rows) {
        const value = of(row);
        buffer.writeInt32BE(value === undefined ? -1 : 4, at);
        at += 4;
        if (value === undefined) continue;
        buffer.writeInt32BE(value, at);
        at += 4;
      }
      return rows.length > 0 ? buffer.subarray(0, at) : buffer;
    },
  };
}

/** Text. */
export function text<T>(name: string, of: (row: T) => string): Column<T> {
  return {
    name,
    type: "text",
    encode(rows) {
      // No character of UTF-16 takes more than three bytes.
      const longest = rows.reduce((sum, row) => sum + 3 * of(row).length, 0);
      const buffer = startArray("text", rows.length, longest);
      let at = headerBytes;
      for (const row of rows) {
        const length = writeText(buffer, at + 4, of(row));
        buffer.writeInt32BE(length, at);
        at += 4 + length;
      }
      return rows.length > 0 ? buffer.subarray(0, at) : buffer;
    },
  };
}

/** `unnest($first::type[], ...)`: the columns as a table, of parameters from the given number on. */
export function unnest(columns: readonly Column<never>[], first: number): string {
  return `unnest(${columns.map(({ type }, index) => `$${first + index}::${type}[]`).join(", ")})`;
}

/** The columns' names, for a list of them. */
export function names(columns: readonly Column<never>[]): string {
  return columns.map(({ name }) => name).join(", ");
}

/** PostgreSQL counts microseconds from the year 2000. */
const epochMs = Date.UTC(2000, 0, 1);

function writeInt64(buffer: Buffer, at: number, value: number): void {
  const high = Math.floor(value / 2 ** 32);
  buffer.writeInt32BE(high, at);
  buffer.writeUInt32BE(value - high * 2 ** 32, at + 4);
}

/** Writes text as UTF-8 and returns its bytes. Nearly all are short and ASCII: not worth the way into Node's own code. */
function writeText(buffer: Buffer, at: number, value: string): number {
  for (let place = 0; place < value.length; place++) {
    const code = value.charCodeAt(place);
    if (code >= 0x80) return buffer.write(value, at, "utf8");
    buffer[at + place] = code;
  }
  return value.length;
}

function writeUuid(buffer: Buffer, at: number, id: string): void {
  for (let digit = 0; digit < 36; digit++) {
    const code = id.charCodeAt(digit);
    if (code === dash) continue;
    const high = nibbles[code] ?? 0;
    digit += 1;
    buffer[at++] = high * 16 + (nibbles[id.charCodeAt(digit)] ?? 0);
  }
}

const dash = 0x2d;
/** The value of a hexadecimal digit by its character. */
const nibbles = Uint8Array.from({ length: 128 }, (_, code) => {
  const value = Number.parseInt(String.fromCharCode(code), 16);
  return Number.isNaN(value) ? 0 : value;
});
