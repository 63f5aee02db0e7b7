// Vercel's AI SDK, with its provider for OpenAI and with the one for compatible services.

import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible"; // docs
import { APICallError, generateImage } from "ai";
import { API_KEY, BASE_URL, change, checkImage, prompt, report } from "./report.mjs";

const compatible = createOpenAICompatible({ name: "hadis", baseURL: BASE_URL, apiKey: API_KEY }); // docs
const openai = createOpenAI({ baseURL: BASE_URL, apiKey: API_KEY });

await report("generate", async () => {
  checkImage((await generateImage({ model: openai.image("gpt-image-1"), prompt })).image.uint8Array);
  checkImage((await generateImage({ model: compatible.imageModel("auto"), prompt })).image.uint8Array);
});

await report("several", async () => {
  const { images } = await generateImage({ model: compatible.imageModel("auto"), prompt, n: 2 });
  if (images.length !== 2) throw new Error(`${images.length} images`);
});

await report("size", async () => {
  await generateImage({ model: openai.image("dall-e-3"), prompt, size: "1024x1024" });
  await generateImage({ model: compatible.imageModel("auto"), prompt, size: "1024x1536" });
});

await report("edit", async () => {
  const { image } = await generateImage({ model: openai.image("gpt-image-1"), prompt });
  const edit = { text: change, images: [image.uint8Array] };
  checkImage((await generateImage({ model: openai.image("gpt-image-1"), prompt: edit })).image.uint8Array);
  checkImage((await generateImage({ model: compatible.imageModel("auto"), prompt: edit })).image.uint8Array);
});

await report("refusal", async () => {
  try {
    await generateImage({ model: compatible.imageModel("no-such-model"), prompt });
  } catch (error) {
    if (APICallError.isInstance(error) && error.statusCode === 404) return;
    throw error;
  }
  throw new Error("a model that is not there was taken");
});
