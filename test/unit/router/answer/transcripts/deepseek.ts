import { ToolParser } from "../../../../../gen/ts/weir/catalog/v1/model_pb.ts";
import { elbe, type Transcript, written } from "./transcript.ts";

/** Answers of DeepSeek. */
export const deepseek: readonly Transcript[] = written(ToolParser.DEEPSEEK, [
  {
    name: "V3, two calls",
    written: `I look.<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>gauge\n\`\`\`json\n${elbe}\n\`\`\`<｜tool▁call▁end｜>\n<｜tool▁call▁begin｜>function<｜tool▁sep｜>ping\n\`\`\`json\n{}\n\`\`\`<｜tool▁call▁end｜><｜tool▁calls▁end｜>`,
    text: "I look.",
    calls: [
      ["gauge", elbe],
      ["ping", "{}"],
    ],
  },
  {
    name: "V3.1, two calls",
    written: `<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>gauge<｜tool▁sep｜>${elbe}<｜tool▁call▁end｜><｜tool▁call▁begin｜>ping<｜tool▁sep｜>{}<｜tool▁call▁end｜><｜tool▁calls▁end｜>`,
    calls: [
      ["gauge", elbe],
      ["ping", "{}"],
    ],
  },
  {
    name: "without the section",
    written: "<｜tool▁call▁begin｜>ping<｜tool▁sep｜>{}<｜tool▁call▁end｜>",
    calls: [["ping", "{}"]],
  },
  {
    name: "anything else is text",
    written: "<｜tool▁calls▁begin｜>none<｜tool▁calls▁end｜>",
    text: "<｜tool▁calls▁begin｜>none<｜tool▁calls▁end｜>",
  },
  { name: "half a marker is text", written: "a <｜tool▁ca", text: "a <｜tool▁ca" },
]);
