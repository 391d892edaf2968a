/** What the driver has to know of a server to speak to it. */
export interface TgiInterface {
  /** The most stop texts that it takes. */
  readonly stopsMax: number;
  /** Whether its streams tell which functions are called. */
  readonly streamsCalls: boolean;
}

/** The name that chats go by: every other one would be taken for an adapter's. */
export const chatModel = "tgi";
