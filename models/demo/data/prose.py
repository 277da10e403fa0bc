"""Plain prose that is not a story: descriptions, explanations, how-to texts, dialogues, letters, reports."""

DESCRIPTIONS = [
    "{town} is a [small|large|busy|sleepy] [town|village] [on a river|by the sea|between two hills|at the edge of a forest]. [About|Nearly|More than] {big} people live there. [Most of them are|Many of them work as] {jobs}, and the town is known for its {food}. In the middle of the town [stands|there is] {a_place} [made|built] of {material}. In {season} [visitors come from far away|the streets are empty|there is a large market].",
    "The {place} is the [oldest|largest|quietest] part of the house. It has {n} windows and a [heavy|low|{colour}] door. [On the left|To the left] stands {a_object}, on the right {a_object2}. In the evening the light [comes in from the west|falls on the floor], and everything looks {colour}. It smells of [{material}|old books|{food}].",
    "{hero} is a {job} of {age} years. {He} is [tall|short|thin|strong], has [{colour}|grey|dark] eyes and always wears a {colour} [coat|hat|scarf]. {He} [speaks little|laughs often|walks fast], likes {food} and cannot stand [noise|{food2}|cold water]. [Everybody|Nearly everybody] in {town} knows {him}.",
    "This {thing} is made of {material}. It is {n} [inches|hands|feet] long and [quite|very|rather] [light|heavy]. One side is {colour}, the other {colour2}. You can use it [in the {place}|at work|on a journey], but [keep it dry|do not leave it in the sun|never drop it]. With a little care it [lasts|will last] for {n} years.",
    "The weather on {day}: in the morning [fog|clouds|sun] near {town}, [later|in the afternoon] [rain|wind|clear skies] from the [north|south|east|west]. Temperatures between {low} and {high} degrees. At night it will be [cold|mild|windy]. The next days stay [dry|wet|changeable].",
    "The market of {town} is open on {day}s from {hour} o'clock. You find {food} and {food2} there, [but also|and sometimes] {things} and {things2}. The best place is [at the corner|near the {place}], where {hero} sells [{food}|{food2}]. Come early: by noon [the best things are gone|it is crowded].",
    "There are {n} rooms in the house of {hero}. In the first is {a_object}, in the second {a_object2}, and in the third {a_animal} [sleeps|lives]. The {place} is under the roof, and from its window one can see [the {place2}|the hills|the whole town].",
]

EXPLANATIONS = [
    "[Rain begins|It rains] when water from seas and lakes rises into the air as vapour. High up the air is cold, so the vapour turns into tiny drops. Many drops together are a cloud. When the drops grow too heavy, they fall. [That is why|This is the reason why] clouds often come before rain.",
    "A shadow appears where something blocks the light. [When the sun is low, shadows are long; at noon they are short|The nearer a thing is to the lamp, the larger its shadow]. A shadow has no colour of its own. [In the dark there are no shadows|Without light there is no shadow], because there is no light to block.",
    "Bread is made from flour, water, salt and yeast. The yeast eats the sugar in the flour and gives off gas. The gas makes small holes, so the dough rises. In the oven the heat stops the yeast and makes the crust hard. [Bread without yeast stays flat|Fresh bread is soft inside].",
    "Ice is frozen water. Water freezes at zero degrees. Ice is lighter than water, so it floats. [This is good for fish: the lake freezes from the top, and the water below stays warmer|When ice gets warm, it melts and becomes water again].",
    "A bee visits many flowers to collect nectar. While it drinks, yellow dust sticks to its legs. At the next flower some of the dust falls off, and so the plant can make seeds. [Without bees there would be few apples|Back in the hive the bees turn nectar into honey].",
    "Paper is made from wood. The wood is cut into small pieces and cooked until it is soft. The wet mass is spread on a net, pressed and dried. [Old paper can be used again|Long ago people wrote on clay, bark or skin].",
    "The moon has no light of its own. It shines because the sun shines on it. As it moves around the earth, we see more or less of its bright side. [A full moon comes about once a month|When the moon is new, we cannot see it].",
    "A magnet pulls iron. It has two ends, called poles. Equal poles push each other away; different poles pull each other. [The needle of a compass is a small magnet that points north|Wood and glass are not pulled by a magnet].",
    "A river begins at a spring. Small streams join it, and it grows wider. It flows downhill, because water always takes the lowest way. At last it reaches [the sea|a lake]. [Where it meets the sea, the land is often flat|The place where it ends is called its mouth].",
    "In autumn many trees lose their leaves. The days get shorter and there is less light. The tree takes back the green colour, and yellow and red remain. Without leaves it needs less water. [In spring new leaves grow|Trees with needles stay green].",
    "Sound is air that moves back and forth. A string, a bell or a voice makes the air shake. The shaking travels to the ear. [Light is much faster than sound, so we see the lightning before we hear the thunder|In empty space there is no air, so there is no sound].",
    "Wood floats on water because it is lighter than the water it pushes aside. A stone is heavier and sinks. [A ship of iron floats because it is hollow|A bottle floats as long as it is closed].",
    "A language model reads a text as a row of small pieces, called tokens. For each place it computes how likely every possible next token is. One of them is chosen and added to the text. [Then the model does the same again, until the text is finished|So the answer grows token by token].",
    "A computer stores everything as numbers. A letter is a number, a colour is three numbers, and a program is a long list of numbers. [Memory forgets when the power is off; a disk does not|A file is a list of numbers with a name].",
    "Plants make their food from light, water and air. The leaves are green because of the stuff that catches the light. At night a plant rests. [Animals that eat plants live on stored sunlight|Without light most plants die].",
    "Salt dissolves in water. The grains become so small that one cannot see them, but one can taste them. When the water dries up, the salt stays behind. [This is how people get salt from the sea|Sugar dissolves too, sand does not].",
]

HOWTO = {
    "make tea": ["Boil fresh water.", "Put the leaves into a pot.", "Pour the hot water over them.", "Wait for [three|four|five] minutes.", "Pour the tea into a cup and enjoy it."],
    "plant a tree": ["Choose a sunny place.", "Dig a hole twice as wide as the roots.", "Put the tree into the hole.", "Fill the hole with earth and press it down.", "Give it plenty of water."],
    "clean a window": ["Mix warm water with a little soap.", "Wash the glass with a soft cloth.", "Rub from the top to the bottom.", "Dry it with old paper.", "Look at it from the side to find spots."],
    "write a letter": ["Write the date at the top.", "Greet the person by name.", "Say first what matters most.", "Tell some news and ask a question.", "End with your name."],
    "light a fire": ["Clear the ground of leaves.", "Lay small dry sticks in a heap.", "Put thicker wood around them.", "Light the small sticks first.", "Never leave the fire alone."],
    "boil an egg": ["Put the egg into a pot.", "Cover it with cold water.", "Heat the water until it boils.", "Wait for [six|seven|eight] minutes.", "Cool the egg in cold water."],
    "tie a parcel": ["Wrap the thing in paper.", "Lay the string around the long side.", "Cross the ends below.", "Bring them up on the short side.", "Make a tight knot."],
    "find north": ["Look for the sun at noon.", "Turn your back to it.", "Now you look north, if you live north of the equator.", "At night look for the north star."],
    "save a file": ["Choose a clear name.", "Choose the right folder.", "Save the file.", "Open it once to see that it is complete.", "Keep a copy on another disk."],
    "find a mistake in a program": ["Read the error message slowly.", "Find the line that it names.", "Ask what you expected there.", "Print the values just before that line.", "Change one thing at a time.", "Run the test again."],
    "make a salad": ["Wash the {food} and dry it.", "Cut it into small pieces.", "Add {food2} and some nuts.", "Mix oil, salt and lemon juice.", "Pour it over the salad just before you eat."],
    "mend a tear": ["Choose a thread of the same colour.", "Make a knot at the end.", "Sew small stitches from the inside.", "Pull the thread tight, but not too tight.", "Cut off the rest."],
    "learn a poem": ["Read it aloud twice.", "Learn the first line by heart.", "Add one line at a time.", "Say it before you sleep.", "Repeat it in the morning."],
    "pack a bag": ["Make a list first.", "Put heavy things at the bottom.", "Roll the clothes.", "Keep papers and money where you can reach them.", "Leave some room for the way back."],
}

DIALOGUES = [
    ["\"[Good morning|Hello|Good evening], {hero}!\" said {friend}.", "\"[Good morning|Hello], {friend}. [How are you|What is new]?\"", "\"[Very well|A little tired], thank you. I am on my way to the {place}.\"", "\"To the {place}? [What do you want there|Is it open today]?\"", "\"I want to [buy {food}|meet the {job}|look for my {thing}].\"", "\"Then [take an umbrella|hurry up], it will [rain|close] soon.\"", "\"Thank you. See you on {day}!\""],
    ["{hero} asked: \"[Do you know|Can you tell me] where the {place} is?\"", "\"Of course,\" said {friend}. \"Go straight on, past the {place2}, and then turn [left|right].\"", "\"Is it far?\"", "\"[About {n} minutes|Not very]. You will see {a_object} in front of it.\"", "\"And is the {job} there?\"", "\"Only on {day}s. [You are lucky, that is today|So you should come back].\""],
    ["\"What is that?\" asked {friend}.", "\"This is {a_object},\" said {hero}. \"I [found|bought|made] it in {town}.\"", "\"What is it good for?\"", "\"You can [keep {food} in it|hang it on the wall|use it in the {place}].\"", "\"I think it is [beautiful|useless|too big],\" said {friend}.", "\"Then [I will give it to you|wait until you have tried it],\" answered {hero}."],
    ["\"I cannot sleep,\" said {hero}.", "\"Why not?\" asked {friend}.", "\"Because [the {animal} is making noise|I think of tomorrow|it is too hot].\"", "\"Count to a hundred, or think of [the sea|{food}|{town}].\"", "After a while {friend} asked: \"Are you asleep?\" There was no answer."],
    ["\"Who [ate|took] the {food}?\" asked {hero}.", "\"It was not me,\" said {friend}. \"Maybe it was the {animal}.\"", "\"The {animal} does not like {food}.\"", "\"Then it was the {job},\" said {friend} and looked at the floor.", "\"You have crumbs on your {colour} shirt,\" said {hero}.", "{friend} [laughed|turned red]. \"[All right|You win]. I will make new ones.\""],
    ["\"Shall we go to {town} on {day}?\" asked {hero}.", "\"I have to work on {day},\" said {friend}. \"How about {day2}?\"", "\"{day2} is fine. [By train or by boat|When do we meet]?\"", "\"[By train|At {hour} o'clock, in front of the {place}]. And bring {food}.\"", "\"I always bring {food},\" said {hero}."],
]

LETTERS = [
    "Dear {friend},\n\n[thank you for your letter|I hope you are well]. Here in {town} it is [cold|warm|raining], and I [work in the {place}|have found a new friend, a {job}]. [Last {day}|Yesterday] I saw {a_animal} near the {place2}. I am sending you {a_object}; [I hope you like it|use it well]. [Please write soon.|When will you visit me?]\n\nYour {hero}",
    "Dear {friend},\n\nI have [good|bad|strange] news. The {thing} that we [lost|bought|mended] in {season} is [back|broken|gone]. The {job} says that [it will cost {n} coins|nothing can be done]. What do you think? [I will wait for your answer|Tell nobody].\n\nGreetings from {town}\n{hero}",
    "[Note|Reminder] for {hero}: [buy|bring] {food} and {food2}, [give the {thing} back to {friend}|lock the {place}], and [do not forget|remember] the {job} at {hour} on {day}.",
    "{day}. [Got up early|Slept badly]. In the {place} with {friend}, who [was late|brought {food}]. We [mended|cleaned|moved] the {object}. [In the afternoon rain|Later a walk to the {place2}]. Saw {n} {animals}. [Tired now|A good day].",
    "[For sale|Wanted|Lost]: {a_object}, {colour}, made of {material}. [Price: {n} coins|Please bring it to the {place} in {town}]. Ask for {hero} the {job}, on {day}s after {hour} o'clock.",
    "The council of {town} [has decided|announces] that the {place} will be [closed|painted|open] from {day} on. The reason is [the weather|a lack of {material}|the festival]. Questions are answered by {hero}, the {job}, and by {friend}.",
]
