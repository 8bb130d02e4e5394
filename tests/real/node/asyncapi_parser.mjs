// What AsyncAPI's own parser finds in a document: {"problems": [...], "operations": n, "messages": n}.
import { readFileSync } from "node:fs";
import { Parser } from "@asyncapi/parser";

const NEWER = "asyncapi-latest-version"; // 3.0 is a version that all tools read
const { document, diagnostics } = await new Parser().parse(readFileSync(process.argv[2], "utf8"));
const problems = diagnostics
  .filter(({ code }) => code !== NEWER)
  .map(({ code, message, path }) => `${path.join(".")}: ${message} (${code})`);
const [operations, messages] = document ? [document.allOperations(), document.allMessages()] : [[], []];
console.log(JSON.stringify({ problems, operations: operations.length, messages: messages.length }));
