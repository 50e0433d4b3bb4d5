/** The part of JSON Schema that forms are made of. Any other schema is filled in as JSON. */

export interface Schema {
  type?: string | string[];
  title?: string;
  description?: string;
  default?: unknown;
  enum?: unknown[];
  const?: unknown;
  properties?: Record<string, Schema>;
  required?: string[];
  items?: Schema | boolean;
  anyOf?: Schema[];
  minimum?: number;
  maximum?: number;
  minLength?: number;
  maxLength?: number;
  format?: string;
  $ref?: string;
  $defs?: Record<string, Schema>;
}

/** Return what a reference leads to; a schema that is none, as it is. */
export function resolve(schema: Schema, root: Schema): Schema {
  const name = schema.$ref?.match(/^#\/\$defs\/(.+)$/)?.[1];
  const found = name === undefined ? undefined : root.$defs?.[decodeURIComponent(name)];
  return found ? resolve({ ...found, ...withoutRef(schema) }, root) : schema;
}

function withoutRef({ $ref: _, ...rest }: Schema): Schema {
  return rest;
}

/** Return the schema of a value that may be null, without the null; null if it is not of that form. */
export function nullable(schema: Schema): Schema | null {
  const others = schema.anyOf?.filter((each) => each.type !== "null") ?? [];
  return schema.anyOf?.length === 2 && others.length === 1 ? { ...others[0], title: schema.title } : null;
}

/** Return a value to begin with. */
export function example(given: Schema, root: Schema, depth = 0): unknown {
  const schema = resolve(given, root);
  if (schema.default !== undefined) return schema.default;
  if (schema.const !== undefined) return schema.const;
  if (schema.enum) return schema.enum[0];
  if (schema.anyOf) return nullable(schema) ? null : example(schema.anyOf[0] ?? {}, root, depth);
  switch (Array.isArray(schema.type) ? schema.type[0] : schema.type) {
    case "string":
      return "";
    case "integer":
    case "number":
      return schema.minimum ?? 0;
    case "boolean":
      return false;
    case "array":
      return [];
    case "object":
      return depth > 4
        ? {}
        : Object.fromEntries(
            Object.entries(schema.properties ?? {})
              .filter(([name]) => schema.required?.includes(name))
              .map(([name, each]) => [name, example(each, root, depth + 1)]),
          );
    default:
      return null;
  }
}
