// OpenAI's own client for Node.

import OpenAI, { toFile } from "openai";
import { apiKey, baseURL, checkImage, prompt, report } from "./report.mjs";

const client = new OpenAI({ baseURL, apiKey });
const draw = async () =>
  Buffer.from((await client.images.generate({ prompt, model: "gpt-image-1" })).data[0].b64_json, "base64");

await report("generate", async () => checkImage(await draw()));

await report("size", async () => {
  await client.images.generate({ prompt, model: "dall-e-3", size: "1024x1024", quality: "standard", style: "vivid" });
});

await report("url", async () => {
  const answer = await client.images.generate({ prompt, model: "dall-e-3", response_format: "url" });
  checkImage(await (await fetch(answer.data[0].url)).arrayBuffer());
});

await report("stream", async () => {
  let last;
  for await (const event of await client.images.generate({ prompt, model: "gpt-image-1", stream: true })) last = event;
  if (last?.type !== "image_generation.completed") throw new Error(`the last event is ${last?.type}`);
});

await report("edit", async () => {
  const image = await toFile(await draw(), "picture.png", { type: "image/png" });
  const answer = await client.images.edit({ image, prompt: "a blue square", model: "gpt-image-1" });
  checkImage(Buffer.from(answer.data[0].b64_json, "base64"));
});

await report("refusal", async () => {
  try {
    await client.images.generate({ prompt, model: "no-such-model" });
  } catch (error) {
    if (error instanceof OpenAI.NotFoundError && error.code === "model_not_found") return;
    throw error;
  }
  throw new Error("a model that is not there was taken");
});
