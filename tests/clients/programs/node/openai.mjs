// OpenAI's own client for Node.

import OpenAI from "openai"; // docs
import { toFile } from "openai";
import { API_KEY, BASE_URL, change, checkImage, prompt, report } from "./report.mjs";

const client = new OpenAI({ baseURL: BASE_URL, apiKey: API_KEY }); // docs
const decoded = (answer) => Buffer.from(answer.data[0].b64_json, "base64");
const draw = async () => decoded(await client.images.generate({ prompt, model: "gpt-image-1" }));
const picture = async () => toFile(await draw(), "picture.png", { type: "image/png" });

await report("generate", async () => checkImage(await draw()));

await report("several", async () => {
  const { data } = await client.images.generate({ prompt, model: "gpt-image-1", n: 2 });
  if (new Set(data.map((image) => image.b64_json)).size !== 2) throw new Error("not two images");
});

await report("size", async () => {
  await client.images.generate({ prompt, model: "dall-e-3", size: "1024x1024", quality: "standard", style: "vivid" });
});

await report("url", async () => {
  const answer = await client.images.generate({ prompt, model: "dall-e-3", response_format: "url" });
  checkImage(await (await fetch(answer.data[0].url)).arrayBuffer());
  return "fetch";
});

await report("stream", async () => {
  let last;
  for await (const event of await client.images.generate({ prompt, model: "gpt-image-1", stream: true })) last = event;
  if (last?.type !== "image_generation.completed") throw new Error(`the last event is ${last?.type}`);
});

await report("edit", async () => {
  checkImage(decoded(await client.images.edit({ image: await picture(), prompt: change, model: "gpt-image-1" })));
});

await report("variation", async () => {
  checkImage(decoded(await client.images.createVariation({ image: await picture(), response_format: "b64_json" })));
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

await report("models", async () => {
  const names = [];
  for await (const model of client.models.list()) names.push(model.id);
  if (!names.includes("auto")) throw new Error(`auto is not among ${names}`);
  if ((await client.models.retrieve("gpt-image-1")).id !== "gpt-image-1") throw new Error("another model");
});
