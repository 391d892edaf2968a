/** What the driver has to know of a model to speak to it over gRPC. */
export interface VllmInterface {
  /** The name of the adapter; empty: it is a model of its own. */
  readonly lora: string;
}
